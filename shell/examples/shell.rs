//! The shell as a program of its own, for the tests: it must own its process, since it reaps every child.

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(uri), Some(rank)) = (args.next(), args.next().and_then(|rank| rank.parse().ok())) else {
        eprintln!("error: usage: shell URI RANK");
        std::process::exit(2);
    };
    std::process::exit(flurm_shell::run(flurm_shell::ShellArgs { uri, rank }));
}
