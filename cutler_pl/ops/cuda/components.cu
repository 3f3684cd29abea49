// Connected components of masks by union-find: parent[i] <= i always, so that the root of a component is its first pixel.
// Playne and Hawick, "A New Algorithm for Parallel Connected-Component Labelling on GPUs", 2018.

__device__ int root_of(const int* parent, int i) {
    while (parent[i] != i) i = parent[i];
    return i;
}

__device__ void join(int* parent, int a, int b) {
    while (true) {
        a = root_of(parent, a);
        b = root_of(parent, b);
        if (a == b) return;
        if (a < b) {
            const int swap = a;
            a = b;
            b = swap;
        }
        const int before = atomicMin(&parent[a], b);
        if (before == a) return;  // no other thread joined this root in between
        a = before;
    }
}

// One item per pixel of all masks, row-major.
extern "C" __global__ void components_start(long long count, const bool* mask, int* parent) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    parent[t] = mask[t] ? (int)t : -1;
}

extern "C" __global__ void components_join(
    long long count, const bool* mask, int* parent, long long height, long long width) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count || !mask[t]) return;
    if (t % width > 0 && mask[t - 1]) join(parent, (int)t, (int)t - 1);
    if (t / width % height > 0 && mask[t - width]) join(parent, (int)t, (int)(t - width));
}

// Labels count within each mask: the first pixel of the component, -1 for background.
extern "C" __global__ void components_label(long long count, const int* parent, int* labels, long long pixels) {
    const long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (t >= count) return;
    labels[t] = parent[t] < 0 ? -1 : (int)(root_of(parent, (int)t) - t / pixels * pixels);
}
