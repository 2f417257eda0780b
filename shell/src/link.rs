//! The connection to the broker of this rank: made, lost, made again.

use crate::shell::Event;
use flurm_client::{Client, Uri};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Between two attempts to reach a broker that is not there. A restarted broker is found within this time.
const RETRY: Duration = Duration::from_millis(100);

/// Connects for as long as the shell lives, and hands on what the broker pushes.
pub async fn keep(uri: Uri, events: UnboundedSender<Event>) {
    loop {
        if let Ok(client) = Client::connect(&uri).await {
            if events.send(Event::Connected(client.clone())).is_err() {
                return;
            }
            while let Some(message) = client.next_push().await {
                if events.send(Event::Push(Box::new(message))).is_err() {
                    return;
                }
            }
            if events.send(Event::Lost).is_err() {
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
