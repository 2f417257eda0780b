//! Messages through the tree: one at a time for the round trip, many at a time for the rate.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use flurm_client::{Client, Uri};
use flurm_types::Rank;
use flurm_wire::Dest;
use flurm_wire::overlay::Ping;

use super::Effort;
use super::instance::Instance;
use super::measure::{Figure, ms};

/// Requests on their way at once when the rate is measured.
const AT_ONCE: usize = 64;

pub fn overlay(effort: Effort) -> Result<Vec<Figure>, String> {
    let (size, rounds) = if effort == Effort::Quick { (4, 50) } else { (64, 2_000) };
    let instance = Instance::start(size, 4, &["-Stbon.fanout=8"])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let uri = Uri::parse(&instance.uri).map_err(|error| error.to_string())?;
        let client = Client::connect(&uri).await.map_err(|error| error.to_string())?;
        let last = size - 1;
        let mut figures = Vec::new();
        for (what, rank) in [("its own broker", 0), ("a child of the root", 1), ("the last leaf", last)] {
            let mut times = Vec::new();
            for _ in 0..rounds {
                let begun = Instant::now();
                ping(&client, rank).await?;
                times.push(ms(begun.elapsed()));
            }
            figures.push(Figure::samples(format!("ping of {what}"), "ms", times));
        }
        for (what, rank) in [("a child of the root", 1), ("the last leaf", last)] {
            let begun = Instant::now();
            let mut count = 0;
            while count < rounds {
                let mut open: Vec<_> = (0..AT_ONCE).map(|_| Box::pin(ping(&client, rank))).collect();
                // All are sent when first polled; the first failure ends it.
                poll_fn(|context| {
                    let mut failed = None;
                    open.retain_mut(|one| match one.as_mut().poll(context) {
                        Poll::Pending => true,
                        Poll::Ready(answer) => {
                            failed = failed.take().or(answer.err());
                            false
                        }
                    });
                    match failed {
                        Some(error) => Poll::Ready(Err(error)),
                        None if open.is_empty() => Poll::Ready(Ok(())),
                        None => Poll::Pending,
                    }
                })
                .await?;
                count += AT_ONCE;
            }
            let rate = count as f64 / begun.elapsed().as_secs_f64();
            figures.push(Figure::value(format!("pings of {what}, {AT_ONCE} at once"), "1/s", count, rate));
        }
        Ok(figures)
    })
}

async fn ping(client: &Client, rank: u32) -> Result<(), String> {
    let ping = Ping { seq: 0, pad: String::new() };
    client.call(Dest::Rank(Rank(rank)), &ping).await.map(drop).map_err(|error| error.to_string())
}
