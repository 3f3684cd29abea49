// The permutohedral lattice: where pixels lie in it, and the three steps of a filter. Beside its CPU twin `lattice.py`,
// operation by operation, so that both give the same bits. Adams, Baek and Davis, Eurographics 2010.

#define MAX_CORNERS 8
#define AT_ONCE 16

// One item per pixel of all images: the packed keys of the corners of its simplex, and its barycentric coordinates.
extern "C" __global__ void lattice_embed(
    long long count, const float* features, const float* scale, const long long* low, const long long* strides,
    long long* keys, float* weights, long long dim, long long pixels, long long image_stride) {
    const long long p = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (p >= count) return;
    const int d = (int)dim, corners = d + 1;
    const float up = (float)corners, down = 1.0f / up;
    float elevated[MAX_CORNERS], nearest[MAX_CORNERS], barycentric[MAX_CORNERS + 1];
    int rank[MAX_CORNERS], holder[MAX_CORNERS];
    // on the hyperplane of coordinate sum 0 (eq. 5, in triangular form)
    float tail = 0;
    for (int i = d; i > 0; --i) {
        const float coordinate = features[p * d + i - 1] * scale[i - 1];
        elevated[i] = tail - (float)i * coordinate;
        tail += coordinate;
    }
    elevated[0] = tail;
    // the closest lattice point of remainder 0
    int excess = 0;
    for (int i = 0; i < corners; ++i) {
        const float rounded = rintf(elevated[i] * down);
        nearest[i] = rounded * up;
        excess += (int)rounded;
        rank[i] = 0;
    }
    for (int i = 0; i < d; ++i) {
        const float here = elevated[i] - nearest[i];
        for (int j = i + 1; j < corners; ++j) {
            if (here < elevated[j] - nearest[j]) ++rank[i];
            else ++rank[j];
        }
    }
    for (int i = 0; i < corners; ++i) {
        rank[i] += excess;
        if (rank[i] < 0) {
            rank[i] += corners;
            nearest[i] += up;
        } else if (rank[i] > d) {
            rank[i] -= corners;
            nearest[i] -= up;
        }
    }
    // barycentric coordinates (prop. 4.2)
    for (int k = 0; k <= corners; ++k) barycentric[k] = 0;
    for (int i = 0; i < corners; ++i) {
        const float part = (elevated[i] - nearest[i]) * down;
        barycentric[d - rank[i]] += part;
        barycentric[d - rank[i] + 1] -= part;
        holder[rank[i]] = i;
    }
    barycentric[0] += 1.0f + barycentric[corners];
    // corner k is the point of remainder k
    long long key = p / pixels * image_stride, one_step = 0;
    for (int i = 0; i < d; ++i) {
        key += ((long long)nearest[i] - low[i]) * strides[i];
        one_step += strides[i];
    }
    for (int k = 0; k < corners; ++k) {
        if (k > 0) {
            key += one_step;
            const int wrapped = holder[corners - k];
            if (wrapped < d) key -= corners * strides[wrapped];
        }
        keys[p * corners + k] = key;
        weights[p * corners + k] = barycentric[k];
    }
}

// Each vertex gathers from its pixels, in the order of pixels. One item per vertex, group and lane; the row after the
// last vertex of a group is the zero that absent neighbours read.
extern "C" __global__ void lattice_splat(
    long long count, const float* values, const long long* starts, const int* pixel, const float* weight, float* front,
    long long vertices, long long pixels, long long lanes) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long lane = t % lanes, v = t / lanes % (vertices + 1), group = t / lanes / (vertices + 1);
    const float* here = values + group * pixels * lanes + lane;
    float sum = 0;
    if (v < vertices) {
        long long e = starts[v];
        const long long end = starts[v + 1];
        // a vertex of a plain surface has thousands of pixels: fetch many before adding them up
        for (; e + AT_ONCE <= end; e += AT_ONCE) {
            float part[AT_ONCE];
            for (int k = 0; k < AT_ONCE; ++k) part[k] = weight[e + k] * here[pixel[e + k] * lanes];
            for (int k = 0; k < AT_ONCE; ++k) sum += part[k];
        }
        for (; e < end; ++e) sum += weight[e] * here[pixel[e] * lanes];
    }
    front[t] = sum;
}

// One direction of the blur; an absent neighbour counts as zero and no vertex is made.
extern "C" __global__ void lattice_blur(
    long long count, const float* front, const int* neighbours, float* back, long long vertices, long long lanes) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long lane = t % lanes, v = t / lanes % (vertices + 1), group = t / lanes / (vertices + 1);
    if (v == vertices) {
        back[t] = 0;
        return;
    }
    const float* here = front + group * (vertices + 1) * lanes + lane;
    back[t] = here[v * lanes] + 0.5f * (here[neighbours[2 * v] * lanes] + here[neighbours[2 * v + 1] * lanes]);
}

__device__ float lattice_read(
    const float* front, const int* corner, const float* weight, long long p, long long group, long long lane,
    long long vertices, long long lanes, long long corners, float alpha) {
    const float* here = front + group * (vertices + 1) * lanes + lane;
    float sum = 0;
    for (long long k = 0; k < corners; ++k) sum += weight[p * corners + k] * here[corner[p * corners + k] * lanes];
    return sum * alpha;
}

// Pixels read back from the corners of their simplex. One item per pixel, group and lane.
extern "C" __global__ void lattice_slice(
    long long count, const float* front, const int* corner, const float* weight, float* filtered,
    long long vertices, long long pixels, long long lanes, long long corners, double alpha) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long lane = t % lanes, p = t / lanes % pixels, group = t / lanes / pixels;
    filtered[t] = lattice_read(front, corner, weight, p, group, lane, vertices, lanes, corners, (float)alpha);
}

// The same as a message of the CRF: scale times (foreground minus background), added to the log-odds.
extern "C" __global__ void lattice_message(
    long long count, const float* front, const int* corner, const float* weight, const float* ones, float* total,
    long long vertices, long long pixels, long long lanes, long long corners, double alpha, double scale) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    const long long lane = t % lanes, p = t / lanes % pixels, group = t / lanes / pixels;
    const float filtered = lattice_read(front, corner, weight, p, group, lane, vertices, lanes, corners, (float)alpha);
    total[t] += (float)scale * (2.0f * filtered - ones[p]);
}
