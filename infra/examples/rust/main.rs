//! A Rust program that can be profiled with gperftools: it burns CPU, and offers profiles of
//! that over HTTP, in gperftools' own format.
//!
//!     rustc --edition 2021 -O -g -o example main.rs && ./example 127.0.0.1:6064

use std::ffi::{c_char, c_int, CString};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, hint, process, thread};

#[link(name = "profiler")]
extern "C" {
    fn ProfilerStart(path: *const c_char) -> c_int;
    fn ProfilerStop();
}

/// Samples for some seconds, 100 times for each second of CPU time.
fn cpu_profile(time: Duration) -> io::Result<Vec<u8>> {
    static ONE: Mutex<()> = Mutex::new(()); // gperftools has one sampler
    let _one = ONE.lock().unwrap();
    let path = env::temp_dir().join(format!("profile-{}", process::id()));
    let name = CString::new(path.to_str().unwrap()).unwrap();
    if unsafe { ProfilerStart(name.as_ptr()) } == 0 {
        return Err(io::Error::new(io::ErrorKind::Other, "the profiler does not start"));
    }
    thread::sleep(time);
    unsafe { ProfilerStop() };
    let profile = fs::read(&path);
    fs::remove_file(&path)?;
    profile
}

/// Answers GET /pprof/profile?seconds=10.
fn answer(mut connection: TcpStream) -> io::Result<()> {
    let mut request = [0; 4096];
    let n = connection.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..n]);
    let target = request.split(' ').nth(1).unwrap_or("");
    let (status, body) = if target.starts_with("/pprof/profile") {
        let seconds = target.split("seconds=").nth(1).and_then(|s| s.parse().ok()).unwrap_or(30);
        ("200 OK", cpu_profile(Duration::from_secs(seconds))?)
    } else {
        ("404 Not Found", Vec::new())
    };
    write!(connection, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    connection.write_all(&body)
}

#[inline(never)]
fn burn(time: Duration) -> f64 {
    let (end, mut x) = (Instant::now() + time, 0.0);
    while Instant::now() < end {
        for i in 0..10_000 {
            x += (f64::from(i) * x + 1.0).sqrt();
        }
    }
    hint::black_box(x)
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:6064".into());
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    thread::spawn(|| loop {
        burn(Duration::from_millis(5));
        thread::sleep(Duration::from_millis(45));
    });
    for connection in listener.incoming() {
        let connection = connection?;
        thread::spawn(move || answer(connection));
    }
    Ok(())
}
