/* Imitates a kernel; the stand-in for nvcc compiles it as C and sets CAPABILITY. */
int kernel_capability(void) { return CAPABILITY; }
