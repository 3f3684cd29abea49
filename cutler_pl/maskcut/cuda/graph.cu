// The patch graph in single bits, products with it, and the second eigenpair of small tridiagonal matrices.

// bits[image][word][i] holds edges 32 word .. 32 word + 31 of patch i. One item per word; neighbours in i read neighbouring memory.
extern "C" __global__ void pack_edges(
    long long count, const float* similarity, unsigned* bits, long long patches, long long words, double tau) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long i = t % patches, word = t / patches % words, image = t / patches / words;
    const float* column = similarity + image * patches * patches + i;
    unsigned packed = 0;
    for (int b = 0; b < 32; ++b) {
        const long long j = 32 * word + b;
        if (j < patches && column[j * patches] > (float)tau) packed |= 1u << b;
    }
    bits[t] = packed;
}

// partial[graph][part][i] = sum over the words of this part of B[j][i] x[graph][j]; x is padded with zeros to 32 words.
// All threads of a warp read the same x and neighbouring words. The order of additions is fixed.
extern "C" __global__ void packed_matvec(
    long long count, const unsigned* bits, const long long* image, const double* x, double* partial,
    long long patches, long long words, long long parts) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long i = t % patches, part = t / patches % parts, graph = t / patches / parts;
    const unsigned* column = bits + image[graph] * words * patches + i;
    const double* entries = x + graph * words * 32;
    double sum = 0;
    for (long long word = words * part / parts; word < words * (part + 1) / parts; ++word) {
        const unsigned packed = column[word * patches];
        for (int b = 0; b < 32; ++b) sum += (packed >> b & 1u) ? entries[32 * word + b] : 0.0;
    }
    partial[t] = sum;
}

// How many eigenvalues of the symmetric tridiagonal matrix lie below x: negative pivots of LDL' (Sturm).
__device__ int eigenvalues_below(const double* diagonal, const double* off, long long size, double x, double tiny) {
    int below = 0;
    double pivot = diagonal[0] - x;
    for (long long k = 0;; ++k) {
        if (pivot < tiny && pivot > -tiny) pivot = -tiny;
        below += pivot < 0;
        if (k + 1 == size) return below;
        pivot = diagonal[k + 1] - x - off[k] * off[k] / pivot;
    }
}

__device__ double eigenvalue(
    const double* diagonal, const double* off, long long size, int which, double low, double high, double tiny) {
    for (int step = 0; step < 200; ++step) {
        const double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high) break;
        if (eigenvalues_below(diagonal, off, size, middle, tiny) > which) high = middle;
        else low = middle;
    }
    return 0.5 * (low + high);
}

// Solve (T - shift) y = y in place by elimination with row exchanges, as LAPACK's dgttrf; u1, u2 and l are scratch.
__device__ void solve_shifted(
    const double* diagonal, const double* off, long long size, double shift, double tiny,
    double* y, double* u0, double* u1, double* u2) {
    double here = diagonal[0] - shift, right = size > 1 ? off[0] : 0.0;
    for (long long k = 0; k + 1 < size; ++k) {
        const double below = off[k], next = diagonal[k + 1] - shift, after = k + 2 < size ? off[k + 1] : 0.0;
        if (fabs(here) >= fabs(below)) {
            if (here < tiny && here > -tiny) here = tiny;
            const double factor = below / here;
            u0[k] = here;
            u1[k] = right;
            u2[k] = 0;
            here = next - factor * right;
            right = after;
            y[k + 1] -= factor * y[k];
        } else {
            const double factor = here / below, swap = y[k];
            u0[k] = below;
            u1[k] = next;
            u2[k] = after;
            here = right - factor * next;
            right = -factor * after;
            y[k] = y[k + 1];
            y[k + 1] = swap - factor * y[k];
        }
    }
    if (here < tiny && here > -tiny) here = tiny;
    u0[size - 1] = here;
    for (long long k = size - 1; k >= 0; --k) {
        double rest = y[k];
        if (k + 1 < size) rest -= u1[k] * y[k + 1];
        if (k + 2 < size) rest -= u2[k] * y[k + 2];
        y[k] = rest / u0[k];
    }
}

// One item per matrix of `size` rows; rows of the arrays are `stride` apart. Bisection, then inverse iteration.
// Writes the unit eigenvector of the second smallest eigenvalue, its largest entry positive, and
// numbers[graph] = eigenvalue, gap to the third.
extern "C" __global__ void second_eigenpair(
    long long count, const double* diagonals, const double* offdiagonals, double* vectors, double* numbers,
    double* scratch, long long size, long long stride) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const double* diagonal = diagonals + t * stride;
    const double* off = offdiagonals + t * stride;
    double* y = vectors + t * stride;
    double* work = scratch + t * 3 * stride;
    double low = diagonal[0], high = diagonal[0], scale = 0;
    for (long long k = 0; k < size; ++k) {
        const double reach = (k > 0 ? fabs(off[k - 1]) : 0.0) + (k + 1 < size ? fabs(off[k]) : 0.0);
        low = fmin(low, diagonal[k] - reach);
        high = fmax(high, diagonal[k] + reach);
    }
    scale = fmax(fabs(low), fabs(high));
    const double tiny = scale * 1e-300 + 1e-290;
    low -= scale * 1e-15;
    high += scale * 1e-15;
    const double second = eigenvalue(diagonal, off, size, 1, low, high, tiny);
    const double third = size > 2 ? eigenvalue(diagonal, off, size, 2, low, high, tiny) : 1.0 / 0.0;
    for (long long k = 0; k < size; ++k) y[k] = 1.0 + 0.1 * (double)((k * 7919) % 101) / 101.0;
    for (int pass = 0; pass < 4; ++pass) {
        solve_shifted(diagonal, off, size, second, scale * 2e-16, y, work, work + stride, work + 2 * stride);
        double largest = 0, squares = 0;
        for (long long k = 0; k < size; ++k) largest = fmax(largest, fabs(y[k]));
        for (long long k = 0; k < size; ++k) {
            y[k] /= largest;
            squares += y[k] * y[k];
        }
        const double norm = sqrt(squares);
        for (long long k = 0; k < size; ++k) y[k] /= norm;
    }
    long long top = 0;
    for (long long k = 1; k < size; ++k)
        if (fabs(y[k]) > fabs(y[top])) top = k;
    const double sign = y[top] < 0 ? -1.0 : 1.0;
    for (long long k = 0; k < size; ++k) y[k] *= sign;
    numbers[2 * t] = second;
    numbers[2 * t + 1] = third - second;
}
