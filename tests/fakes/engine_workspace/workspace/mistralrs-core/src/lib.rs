//! Imitates the package mistralrs-core of mistral.rs.

/// The compute capability that the kernels were compiled for; 0 without CUDA.
pub fn capability() -> i32 {
    mistralrs_quant::capability()
}
