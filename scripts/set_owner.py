"""Replace OWNER in the repository's address by the account that hosts it: `python scripts/set_owner.py <account>`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"\bOWNER(?=(?:/|\.github\.io/)cutler_pl\b)")


def uses(root: Path) -> dict[Path, int]:
    """How often each tracked text file of a git checkout names the address."""
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True)
    found = {}
    for name in filter(None, listing.stdout.decode().split("\0")):
        path = root / name
        if path.is_file() and (count := len(ADDRESS.findall(_read(path)))):
            found[path] = count
    return found


def replace(root: Path, account: str) -> dict[Path, int]:
    """Write the account wherever the address is named; returns the files with their number of places."""
    found = uses(root)
    for path in found:
        path.write_bytes(ADDRESS.sub(account, _read(path)).encode())
    return found


def _read(path: Path) -> str:
    content = path.read_bytes()
    try:
        return "" if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return ""


def main() -> None:
    """Replace, and say where."""
    if len(sys.argv) != 2 or not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?", sys.argv[1]):
        sys.exit("usage: python scripts/set_owner.py <account>   (a GitHub account: letters, digits, hyphens)")
    for path, count in replace(ROOT, sys.argv[1]).items():
        print(f"{path.relative_to(ROOT)}: {count}")


if __name__ == "__main__":
    main()
