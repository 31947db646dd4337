/* Imitates a kernel: nvcc compiles it as CUDA, the stand-in for nvcc as C with CAPABILITY set. */
#ifdef __CUDACC__
__global__ void add(const float *left, const float *right, float *sum, int count) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) {
        sum[index] = left[index] + right[index];
    }
}

/* What nvcc was asked for, ten times the capability: 890. */
static const int compiled_for[] = {__CUDA_ARCH_LIST__};
#define CAPABILITY (compiled_for[0] / 10)
extern "C"
#endif
int kernel_capability(void) { return CAPABILITY; }
