//! Calls while a call of the OCI runtime hangs in the same shim: how many are answered in a second, and how long the slowest take.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{
    PidsRequest, PidsResponse, StartRequest, StateRequest, StateResponse, StatsRequest,
    StatsResponse,
};

use crate::bench::Bench;
use crate::measure::{Measure, Unit, as_float, quantile};
use crate::rpc::{DEADLINE, request};
use crate::shim::{Bundle, Shim, millis};

const CALLS: [&str; 3] = ["State", "Pids", "Stats"];
const FULL: Duration = Duration::from_secs(3);
/// A shim that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(bench: &mut Bench) {
    let time = if bench.is_quick { FULL / 3 } else { FULL };
    let mut measures: Vec<[Measure; 2]> = CALLS
        .iter()
        .map(|call| {
            let name = call.to_lowercase();
            [
                Measure::new(
                    &format!("hang.{name}_rate"),
                    &format!("{call}, while an exec hangs in the OCI runtime"),
                    Unit::CallsPerSecond,
                ),
                Measure::new(
                    &format!("hang.{name}_p99"),
                    &format!("{call}, 99 of 100 within"),
                    Unit::Millis,
                ),
            ]
        })
        .collect();
    for peer in bench.peers.clone() {
        let bundle = hanging(bench);
        let mut running = bundle.run(&bench.ground, &peer);
        running.shim.exec("hangs", &["/bin/true"]);
        let request = request!(StartRequest {
            id: &*bundle.id,
            exec_id: "hangs"
        });
        let service = peer.service;
        running
            .shim
            .connection
            .send(service, "Start", &request)
            .unwrap();
        crate::poll::until("the OCI runtime hangs", || {
            fs::metadata(bundle.dir.join("hangs")).map_err(|error| error.to_string())
        });
        for (call, [rate, p99]) in CALLS.iter().zip(&mut measures) {
            match calls(&mut running.shim, call, time) {
                Ok(taken) => {
                    let second = time.as_secs_f64();
                    *rate = rate
                        .clone()
                        .with(peer.name, vec![as_float(taken.len()) / second]);
                    *p99 = p99.clone().with(peer.name, vec![quantile(&taken, 0.99)]);
                }
                Err(why) => {
                    bench.skip(
                        &format!("hang.{}: {}", call.to_lowercase(), peer.name),
                        &why,
                    );
                    break;
                }
            }
        }
        // The exec goes on, and all that waited for it.
        fs::remove_file(bundle.dir.join("gate")).unwrap();
        running
            .shim
            .connection
            .stream
            .set_read_timeout(Some(DEADLINE))
            .unwrap();
        running.end();
        bundle.remove();
    }
    bench
        .findings
        .measures
        .extend(measures.into_iter().flatten());
}

/// A bundle whose OCI runtime does not come back from `exec` while there is a file `gate`; there is one `hangs` by then.
fn hanging(bench: &Bench) -> Bundle {
    let mut bundle = bench.ground.bundle(&["/bin/sleep", "1000000"]);
    let dir = bundle.dir.display();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" exec \"*) : >{dir}/hangs; while [ -e {dir}/gate ]; do sleep 0.05; done;; esac\n\
         exec {} \"$@\"\n",
        bundle.runtime
    );
    let path = bundle.dir.join("oci-runtime");
    fs::write(bundle.dir.join("gate"), "").unwrap();
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.runtime = path.to_str().unwrap().to_owned();
    bundle
}

/// Milliseconds of each call that was answered within `time`, one after the other.
fn calls(shim: &mut Shim, method: &str, time: Duration) -> Result<Vec<f64>, String> {
    shim.connection
        .stream
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    let began = Instant::now();
    let mut taken = Vec::new();
    while began.elapsed() < time {
        let sent = Instant::now();
        call(shim, method).map_err(|error| format!("no answer within {PATIENCE:?}: {error}"))?;
        taken.push(millis(sent.elapsed()));
    }
    Ok(taken)
}

fn call(shim: &mut Shim, method: &str) -> std::io::Result<()> {
    let Shim {
        id,
        service,
        connection,
    } = shim;
    let answer = match method {
        "State" => {
            let sent = connection.send(service, method, &request!(StateRequest { id: &**id }))?;
            connection.receive::<StateResponse>(sent)?.map(drop)
        }
        "Pids" => {
            let sent = connection.send(service, method, &request!(PidsRequest { id: &**id }))?;
            connection.receive::<PidsResponse>(sent)?.map(drop)
        }
        _ => {
            let sent = connection.send(service, method, &request!(StatsRequest { id: &**id }))?;
            connection.receive::<StatsResponse>(sent)?.map(drop)
        }
    };
    answer.map_err(|failure| std::io::Error::other(format!("{failure:?}")))
}
