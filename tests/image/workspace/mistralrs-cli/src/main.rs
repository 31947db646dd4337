//! Imitates the program mistralrs: `--version`, `doctor --json`, and a server that answers on /health, /v1/models and
//! /v1/completions. With a configuration it looks at the model that this names.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn answer(stream: TcpStream) -> std::io::Result<()> {
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
    let (status, body) = match line.split(' ').nth(1).unwrap_or("") {
        "/health" => ("200 OK", "OK"),
        "/v1/models" => ("200 OK", r#"{"object":"list","data":[{"id":"default","object":"model"}]}"#),
        "/v1/completions" => ("200 OK", r#"{"choices":[{"index":0,"text":" Paris."}]}"#),
        _ => ("404 Not Found", ""),
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What is quoted behind `key = ` in a configuration.
fn value(configuration: &str, key: &str) -> String {
    let line = configuration.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.and_then(|line| line.split('"').nth(1)).unwrap_or("").to_string()
}

/// Ends the program as the engine does when it can't load its model.
fn load(path: &str) {
    let configuration = std::fs::read_to_string(path).expect("the configuration can be read");
    let model = format!("{}/{}", value(&configuration, "model_id"), value(&configuration, "quantized_file"));
    let start = std::fs::read(&model).map(|content| content.into_iter().take(4).collect::<Vec<u8>>());
    if start.as_deref().ok() != Some(b"GGUF".as_slice()) {
        eprintln!("Error: invalid GGUF magic {start:02x?}");
        std::process::exit(1);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--version") => println!("mistralrs {}", env!("CARGO_PKG_VERSION")),
        Some("doctor") => println!(
            r#"{{"system":{{"os":"linux","build":{{"version":"{}","cuda":{},"cudnn":{},"flash_attn":{}}}}},"checks":[{{"name":"cuda","status":"{}","message":"kernel of capability {}"}}]}}"#,
            env!("CARGO_PKG_VERSION"),
            cfg!(feature = "cuda"),
            cfg!(feature = "cudnn"),
            cfg!(feature = "flash-attn"),
            if std::path::Path::new("/dev/nvidia0").exists() { "pass" } else { "fail" },
            mistralrs_core::capability(),
        ),
        Some(command @ ("serve" | "from-config")) => {
            if command == "from-config" {
                load(&arguments[2]);
            }
            let listener = TcpListener::bind("0.0.0.0:11434").expect("the port is free");
            for stream in listener.incoming().flatten() {
                let _ = answer(stream);
            }
        }
        _ => {
            eprintln!("usage: mistralrs --version|doctor --json|serve|from-config");
            std::process::exit(2);
        }
    }
}
