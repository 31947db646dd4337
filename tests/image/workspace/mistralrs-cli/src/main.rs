//! Imitates the program mistralrs: `--version`, `doctor --json`, and a server that answers on /health and /v1/models.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut line)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = match line.split(' ').nth(1).unwrap_or("") {
        "/health" => ("200 OK", "OK"),
        "/v1/models" => ("200 OK", r#"{"object":"list","data":[{"id":"default","object":"model"}]}"#),
        _ => ("404 Not Found", ""),
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
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
        Some("serve" | "from-config") => {
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
