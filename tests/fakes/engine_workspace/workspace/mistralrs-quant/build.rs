//! Imitates the build script of mistralrs-quant: demands CUDA_COMPUTE_CAP, and compiles a kernel by nvcc for it.
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=kernels/add.cu");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CUDA_COMPUTE_CAP");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| {
        panic!("CUDA_COMPUTE_CAP env var not specified and `nvidia-smi` was not found")
    });
    let out = std::env::var("OUT_DIR").unwrap();
    let status = Command::new("nvcc")
        .args([&format!("-arch=sm_{capability}"), "-c", "kernels/add.cu", "-o", &format!("{out}/add.o")])
        .status()
        .expect("Failed to execute `nvcc`");
    assert!(status.success(), "nvcc error while compiling kernels/add.cu: {status}");
    let status = Command::new("ar").args(["crs", &format!("{out}/libkernels.a"), &format!("{out}/add.o")]).status();
    assert!(status.map_or(false, |status| status.success()), "ar failed");
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=kernels");
    // The stand-in for nvcc comes without CUDA's runtime library, and compiles nothing that needs it.
    let cuda = "/usr/local/cuda/lib64";
    if std::path::Path::new(cuda).join("libcudart_static.a").exists() {
        println!("cargo:rustc-link-search=native={cuda}");
        println!("cargo:rustc-link-lib=static=cudart_static");
        println!("cargo:rustc-link-lib=stdc++");
    }
}
