//! Processor time of a no-op job, by who spends it. Unlike a rate it can be compared on a machine that others use, too.

use std::fs;

use super::Effort;
use super::instance::Instance;
use super::measure::Figure;
use super::memory::child_named;
use super::spawn;

const SIZE: u32 = 4;

pub fn cpu(effort: Effort) -> Result<Vec<Figure>, String> {
    let jobs = if effort == Effort::Quick { 500 } else { 10_000 };
    let bare = || -> Result<f64, String> {
        let before = own()? + children()?;
        spawn::rate_with(4, jobs)?;
        Ok(own()? + children()? - before)
    };
    let before = bare()?;
    let instance = Instance::start(SIZE, 16, &[])?;
    let submit = |jobs| instance.run(&["submit", "--quiet", "--wait", &format!("--cc=1-{jobs}"), "true"]);
    submit(100)?;
    let brokers: Vec<u32> = (0..SIZE).map(|rank| instance.broker(rank)).collect::<Result<_, _>>()?;
    let shells: Vec<u32> = brokers.iter().map(|pid| child_named(*pid, "shell")).collect::<Result<_, _>>()?;
    let leader = || Ok(spent(brokers[0])?.0);
    let others = || sum(&brokers[1..], |(own, _)| own);
    let of_shells = || sum(&shells, |(own, _)| own);
    let tasks = || sum(&shells, |(_, children)| children);
    let parts: [(&str, Read); 5] = [
        ("its task, from the end of its start on", &tasks),
        ("shells, a third of it to start the task", &of_shells),
        ("leader", &leader),
        ("other brokers", &others),
        ("client", &children),
    ];
    let begun: Vec<f64> = parts.iter().map(|(_, now)| now()).collect::<Result<_, _>>()?;
    submit(jobs)?;
    let ended: Vec<f64> = parts.iter().map(|(_, now)| now()).collect::<Result<_, _>>()?;
    drop(instance);
    let bare = f64::midpoint(before, bare()?);
    let all: f64 = ended.iter().sum::<f64>() - begun.iter().sum::<f64>();
    let each = |what: &str, seconds: f64| Figure::value(what, "us", jobs, seconds * 1e6 / jobs as f64);
    let mut figures = vec![each("a bare posix_spawn + waitpid, before and after", bare)];
    figures.push(each("a job", all));
    for ((what, _), (begun, ended)) in parts.iter().zip(begun.iter().zip(&ended)) {
        figures.push(each(what, ended - begun));
    }
    figures.push(Figure::value("bare, of a job", "%", jobs, 100.0 * bare / all));
    Ok(figures)
}

/// What a part has spent until now, in seconds.
type Read<'a> = &'a dyn Fn() -> Result<f64, String>;

fn sum(pids: &[u32], part: impl Fn((f64, f64)) -> f64) -> Result<f64, String> {
    pids.iter().map(|pid| spent(*pid).map(&part)).sum()
}

/// Seconds of processor time of a process, and of its children that it has reaped.
fn spent(pid: u32) -> Result<(f64, f64), String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Fields 14 to 17 of proc(5), counted from the third.
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    // SAFETY: no memory is touched.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok(((field(11) + field(12)) / per_second, (field(13) + field(14)) / per_second))
}

fn own() -> Result<f64, String> {
    Ok(spent(std::process::id())?.0)
}

fn children() -> Result<f64, String> {
    Ok(spent(std::process::id())?.1)
}
