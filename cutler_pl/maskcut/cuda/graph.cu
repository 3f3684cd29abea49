// The patch graph in single bits, products with it, the steps of its reduction to tridiagonal form (eigen/kernel_tridiagonal.py), and the
// second eigenpair of small tridiagonal matrices.

// bits[image][word][i] holds edges 32 word .. 32 word + 31 of patch i. One item per word; neighbours in i read neighbouring memory.
// A similarity within `error` of tau is computed again, from the directions[image][dim][patch].
extern "C" __global__ void pack_edges(
    long long count, const float* similarity, const double* directions, unsigned* bits, long long patches, long long words,
    long long dim, double tau, double error) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long i = t % patches, word = t / patches % words, image = t / patches / words;
    const float* column = similarity + image * patches * patches + i;
    unsigned packed = 0;
    for (int b = 0; b < 32; ++b) {
        const long long j = 32 * word + b;
        if (j >= patches) break;
        double cosine = column[j * patches];
        if (fabs(cosine - tau) < error) {
            const double* of_image = directions + image * dim * patches;
            cosine = 0;
            for (long long k = 0; k < dim; ++k) cosine += of_image[k * patches + i] * of_image[k * patches + j];
        }
        if (cosine > tau) packed |= 1u << b;
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

// The reduction. V[graph][column][patch] and S[graph][row][column] are the compact product Q = I - V' S V of `j` reflections,
// S upper triangular, with room for `capacity`. Sums over patches are taken in two stages: `parts` partial sums of every
// parts-th patch, added up by whoever reads them. Every order of additions is fixed.

// dots[graph][column][part] of V's columns with z, one item each.
extern "C" __global__ void krylov_dots(
    long long count, const double* V, const double* z, double* dots, long long patches, long long capacity,
    long long columns, long long parts) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long part = t % parts, column = t / parts % columns, graph = t / parts / columns;
    const double* left = V + (graph * capacity + column) * patches;
    const double* right = z + graph * patches;
    double sum = 0;
    for (long long i = part; i < patches; i += parts) sum += left[i] * right[i];
    dots[t] = sum;
}

__device__ double sum_of_parts(const double* dots, long long parts) {
    double sum = 0;
    for (long long part = 0; part < parts; ++part) sum += dots[part];
    return sum;
}

// coefficients[graph][a] of V's columns in Q applied to unit vector j: S times row j of V. One item per column.
extern "C" __global__ void krylov_unit_coefficients(
    long long count, const double* V, const double* S, double* coefficients, long long patches, long long capacity,
    long long j) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long a = t % j, graph = t / j;
    double sum = 0;
    for (long long b = a; b < j; ++b)
        sum += S[(graph * capacity + a) * capacity + b] * V[(graph * capacity + b) * patches + j];
    coefficients[graph * capacity + a] = sum;
}

__device__ double combination(
    const double* V, const double* coefficients, long long graph, long long i, long long patches, long long capacity,
    long long j) {
    double sum = 0;
    for (long long a = 0; a < j; ++a) sum += V[(graph * capacity + a) * patches + i] * coefficients[graph * capacity + a];
    return sum;
}

// x = Q applied to unit vector j; scaled = D^-1/2 x of the active patches, zeros up to `padded`. One item per entry of scaled.
extern "C" __global__ void krylov_unit(
    long long count, const double* V, const double* coefficients, const double* root_inverse, const bool* active,
    double* x, double* scaled, long long patches, long long padded, long long capacity, long long j) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long i = t % padded, graph = t / padded, at = graph * patches + i;
    if (i >= patches) {
        scaled[t] = 0;
        return;
    }
    const double entry = (i == j ? 1.0 : 0.0) - combination(V, coefficients, graph, i, patches, capacity, j);
    x[at] = entry;
    scaled[t] = active[at] ? root_inverse[at] * entry : 0.0;
}

// z = C x, from x, the partial products of B with D^-1/2 x, and the parts of the sum of D^-1/2 x.
extern "C" __global__ void krylov_operator(
    long long count, const double* x, const double* partial, const double* total, const double* root_inverse,
    const bool* active, double* z, long long patches, long long product_parts, long long parts, double eps) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long i = t % patches, graph = t / patches;
    double product = 0;
    if (active[t])
        for (long long part = 0; part < product_parts; ++part) product += partial[(graph * product_parts + part) * patches + i];
    z[t] = x[t] - root_inverse[t] * (eps * sum_of_parts(total + graph * parts, parts) + (1.0 - eps) * product);
}

// coefficients[graph][a] of V's columns in Q' applied to z, from the parts of V's dots with z. One item per column.
extern "C" __global__ void krylov_back_coefficients(
    long long count, const double* S, const double* dots, double* coefficients, long long capacity, long long parts,
    long long j) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long a = t % j, graph = t / j;
    double sum = 0;
    for (long long b = 0; b <= a; ++b)
        sum += S[(graph * capacity + b) * capacity + a] * sum_of_parts(dots + (graph * j + b) * parts, parts);
    coefficients[graph * capacity + a] = sum;
}

// column = Q' z.
extern "C" __global__ void krylov_column(
    long long count, const double* V, const double* coefficients, const double* z, double* column, long long patches,
    long long capacity, long long j) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    column[t] = z[t] - combination(V, coefficients, t / patches, t % patches, patches, capacity, j);
}

// squares[graph][part] of the entries of the column from `from` on.
extern "C" __global__ void krylov_squares(
    long long count, const double* column, double* squares, long long patches, long long parts, long long from) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long part = t % parts, graph = t / parts;
    double sum = 0;
    for (long long i = from + part; i < patches; i += parts) {
        const double entry = column[graph * patches + i];
        sum += entry * entry;
    }
    squares[t] = sum;
}

// The reflection of the column's entries after j, as LAPACK's dlarfg, into v and column j of V; where they vanish, the one of
// `restart`, whose entries from each place on have the norms `restart_norms`. Entry j of T's diagonals, and S[j][j].
extern "C" __global__ void krylov_reflection(
    long long count, const double* column, const double* squares, const double* restart, const double* restart_norms,
    double* V, double* S, double* v, double* diagonal, double* offdiagonal, long long patches, long long capacity,
    long long parts, long long j, double breakdown) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long i = t % patches, graph = t / patches, next = j + 1;
    double first = 0, rest = 0, beta = 0, scale = 0, denominator = 1;
    bool broken = false;
    if (next < patches) {
        first = column[graph * patches + next];
        rest = sqrt(sum_of_parts(squares + graph * parts, parts));
        broken = hypot(first, rest) < breakdown;
        if (broken) {
            first = restart[next];
            rest = restart_norms[next + 1];
        }
        beta = first;
        if (rest != 0) {
            beta = -copysign(hypot(first, rest), first);
            denominator = first - beta;
            scale = (beta - first) / beta;
        }
    }
    double entry = 0;
    if (i == next) entry = 1;
    if (i > next) entry = (broken ? restart[i] : column[t]) / denominator;
    v[t] = entry;
    V[(graph * capacity + j) * patches + i] = entry;
    if (i == 0) {
        diagonal[graph * capacity + j] = column[graph * patches + j];
        offdiagonal[graph * capacity + j] = broken ? 0.0 : beta;
        S[(graph * capacity + j) * capacity + j] = scale;
    }
}

// Column j of S above its diagonal, from the parts of V's dots with its column j. One item per row.
extern "C" __global__ void krylov_extend(
    long long count, double* S, const double* dots, long long capacity, long long parts, long long j) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long a = t % j, graph = t / j;
    double* here = S + graph * capacity * capacity;
    double sum = 0;
    for (long long b = a; b < j; ++b) sum += here[a * capacity + b] * sum_of_parts(dots + (graph * j + b) * parts, parts);
    here[a * capacity + j] = -here[j * capacity + j] * sum;
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
