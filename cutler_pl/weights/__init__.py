"""Every way weights come in and go out: files, addresses, released names, detectron2 keys."""
