//! Imitates the package mistralrs-quant of mistral.rs.

#[cfg(feature = "cuda")]
extern "C" {
    fn kernel_capability() -> i32;
}

/// The compute capability that the kernels were compiled for; 0 without CUDA.
pub fn capability() -> i32 {
    #[cfg(feature = "cuda")]
    return unsafe { kernel_capability() };
    #[cfg(not(feature = "cuda"))]
    0
}
