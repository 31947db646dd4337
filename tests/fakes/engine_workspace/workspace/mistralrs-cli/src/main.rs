//! Imitates the program mistralrs 0.9.2: `--version`, `doctor --json`, and a server that answers on /health, /v1/models
//! and /v1/completions. With a configuration it looks at the model that this names.
//!
//! What it says comes from the recordings of the real one in tests/recordings/mistralrs-0.9.2+7:
//! * recorded/doctor.json is doctor.json, recorded/*.txt are the bodies of http/{health,models,completions}.json; a unit
//!   test compares them. The model's name in the answers is the one that the request or the configuration gives.
//! * Checks that a CPU build does not print, with CUDA: mistralrs-core/src/diagnostics.rs at v0.9.2, lines 594 (a GPU)
//!   and 778 (none), and the device, line 166.
//! * The errors of the command line and of models: starts/{no-arguments,unknown-flag,text,empty}.json; of a file that can't
//!   be read: mistralrs-quant/src/gguf/archive.rs:321 at v0.9.2.
//!
//! Its own: the command `kernels` prints the compute capability that the kernels were compiled for.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

const DOCTOR: &str = include_str!("recorded/doctor.json");
const HEALTH: &str = include_str!("recorded/health.txt");
const MODELS: &str = include_str!("recorded/models.txt");
const COMPLETIONS: &str = include_str!("recorded/completions.txt");
const RECORDED_MODEL: &str = "smollm2-q4_1";

fn answer(stream: TcpStream, model: &str) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut line)?;
    let mut header = String::new();
    let mut length = 0;
    while reader.read_line(&mut header)? > 2 {
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap_or(0);
        }
        header.clear();
    }
    // Closing a connection with something unread in it would reset it, and the answer could be lost.
    reader.read_exact(&mut vec![0; length])?;
    let mut words = line.split(' ');
    let (status, kind, body) = match (words.next().unwrap_or(""), words.next().unwrap_or("")) {
        ("GET", "/health") => ("200 OK", "text/plain; charset=utf-8", HEALTH),
        ("GET", "/v1/models") => ("200 OK", "application/json", MODELS),
        ("POST", "/v1/completions") => ("200 OK", "application/json", COMPLETIONS),
        (_, "/health" | "/v1/models" | "/v1/completions") => ("405 Method Not Allowed", "", ""),
        _ => ("404 Not Found", "", ""),
    };
    let body = body.replace(RECORDED_MODEL, model);
    let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\n{kind}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// What is quoted behind `key = ` in a configuration.
fn value(configuration: &str, key: &str) -> String {
    let line = configuration.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.and_then(|line| line.split('"').nth(1)).unwrap_or("").to_string()
}

/// Loads the model that a configuration names, and ends the program as the engine does when it can't; its name.
fn load(path: &str) -> String {
    let configuration = std::fs::read_to_string(path).unwrap_or_else(|error| {
        eprintln!("Error: Failed to read config file {path}\n\nCaused by:\n    {error}");
        std::process::exit(1);
    });
    let name = value(&configuration, "model_id");
    let model = format!("{name}/{}", value(&configuration, "quantized_file"));
    let why = match std::fs::read(&model) {
        Err(error) => error.to_string(),
        Ok(content) if content.len() < 4 => "GGUF file is shorter than its magic".to_string(),
        Ok(content) if &content[..4] != b"GGUF" => {
            let magic: Vec<String> = content[..4].iter().map(|byte| format!("{byte:x}")).collect();
            format!("invalid GGUF magic [{}]", magic.join(", "))
        }
        Ok(_) => return name,
    };
    eprintln!("Error: path: \"{model}\" {why}");
    std::process::exit(1);
}

/// The compute capability in two numbers, as `8.9`.
fn capability() -> String {
    let number = mistralrs_core::capability();
    format!("{}.{}", number / 10, number % 10)
}

/// The recorded report, with what this build and this host make different.
fn doctor() -> String {
    let cuda = cfg!(feature = "cuda");
    let mut report = DOCTOR.trim_end().to_string();
    for (name, on) in
        [("cuda", cuda), ("cudnn", cfg!(feature = "cudnn")), ("flash_attn", cfg!(feature = "flash-attn"))]
    {
        let recorded = format!("\"{name}\": false");
        assert!(report.contains(&recorded), "the recording has no {recorded}");
        report = report.replace(&recorded, &format!("\"{name}\": {on}"));
    }
    if !cuda {
        return report;
    }
    let (device, check) = if Path::new("/dev/nvidia0").exists() {
        let sizes = r#""total_memory_bytes": 25757220864, "available_memory_bytes": 25257050112"#;
        (
            format!(r#"{{"kind": "cuda", "ordinal": 0, "name": null, {sizes}, "unified_memory": false}}, "#),
            format!(
                r#"{{"name": "cuda_0_compute", "status": "ok", "message": "GPU 0: compute {} - Flash Attn v2 ✅, v3 ❌ (requires Hopper/Compute 9.0)"}}"#,
                capability()
            ),
        )
    } else {
        let message = "CUDA support is enabled but no CUDA devices were found.";
        let suggestion = "Check NVIDIA driver installation.";
        (
            String::new(),
            format!(
                r#"{{"name": "cuda_devices", "status": "warn", "message": "{message}", "suggestion": "{suggestion}"}}"#
            ),
        )
    };
    report = report.replace("\"devices\": [", &format!("\"devices\": [{device}"));
    let end = report.rfind("\n  ]").expect("the recording ends with its checks");
    report.insert_str(end, &format!(",\n    {check}"));
    report
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--version") => println!("mistralrs {}", env!("CARGO_PKG_VERSION")),
        Some("doctor") => println!("{}", doctor()),
        Some("kernels") => println!("{}", capability()),
        Some(command @ ("serve" | "from-config")) => {
            let model = if command == "from-config" { load(&arguments[2]) } else { "default".to_string() };
            let listener = TcpListener::bind("0.0.0.0:11434").expect("the port is free");
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &model);
            }
        }
        Some(other) => {
            eprintln!("error: unrecognized subcommand '{other}'\n\nUsage: mistralrs [OPTIONS] <COMMAND>");
            std::process::exit(2);
        }
        None => {
            eprintln!("Command-line interface for mistral.rs LLM inference\n\nUsage: mistralrs [OPTIONS] <COMMAND>");
            std::process::exit(2);
        }
    }
}
