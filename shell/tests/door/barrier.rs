//! PMI between ranks: what one shell asks another at a barrier.

use super::*;

pub fn pmi_tasks_meet_across_ranks() {
    let client = "import os,socket\ns=socket.socket(fileno=int(os.environ['PMI_FD']))\nf=s.makefile('rw')\n\
        def q(l):\n f.write(l+'\\n'); f.flush(); return f.readline().strip()\n\
        r=int(os.environ['PMI_RANK']); n=int(os.environ['PMI_SIZE'])\n\
        q('cmd=init pmi_version=1 pmi_subversion=1')\nk=q('cmd=get_my_kvsname').split('kvsname=')[1]\n\
        q(f'cmd=put kvsname={k} key=c{r} value=card {r}')\nq('cmd=barrier_in')\n\
        print([q(f'cmd=get kvsname={k} key=c{i}').split('value=')[1] for i in range(n)],\
        q(f'cmd=get kvsname={k} key=PMI_process_mapping').split('value=')[1],\
        'R_lite' in q(f'cmd=get kvsname={k} key=flurm.R'),flush=True)\nq('cmd=finalize')\n";
    let mut low = Broker::of_rank(1);
    let mut high = Broker::of_rank(2);
    let all = start(low.dir.path(), &[1], &["python3", "-c", client], 4, json!({}), &[1, 2]);
    high.push(&StartHere(all.clone()));
    // We are the overlay: the fence of rank 2 goes to rank 1, its answer back.
    let fence = high.receive_other();
    assert_eq!((&*fence.topic, fence.dst), (Fence::NAME, Dest::Rank(Rank(1))));
    low.push(&StartHere(all));
    low.push(&fence.body::<Fence>().expect("a fence"));
    let mut answer = low.receive_other();
    answer.tag = fence.tag;
    high.send(&answer);
    let cards = "['card 0', 'card 1', 'card 2', 'card 3'] (vector,(0,2,2)) True\n";
    let (low, high) = (low.gone(1), high.gone(1));
    assert_eq!((low.status(), high.status()), (0, 0));
    assert_eq!([low.output("stdout", "0"), low.output("stdout", "1")], [cards, cards]);
    assert_eq!([high.output("stdout", "2"), high.output("stdout", "3")], [cards, cards]);
}

pub fn a_part_that_is_lost_is_sent_again_and_tasks_that_are_gone_are_not_waited_for() {
    let client = "import os,socket\ns=socket.socket(fileno=int(os.environ['PMI_FD']))\nf=s.makefile('rw')\n\
        def q(l):\n f.write(l+'\\n'); f.flush(); return f.readline().strip()\n\
        q('cmd=init pmi_version=1 pmi_subversion=1'); print(q('cmd=barrier_in'),flush=True)\n";
    let mut high = Broker::of_rank(2);
    let all = start(high.dir.path(), &[1], &["python3", "-c", client], 2, json!({}), &[1, 2]);
    high.push(&StartHere(all.clone()));
    let lost = high.receive_other();
    let away = WireError::new(ErrorCode::Unreachable, "a broker is restarted");
    high.send(&lost.refuse(high.address(), away));
    let again = high.receive_other();
    assert_eq!(again.payload.as_ref().map(|p| p.get()), lost.payload.as_ref().map(|p| p.get()));
    // Its tasks on rank 1 end without a word. They are the root, so nobody is told, but who comes is refused.
    let mut low = Broker::of_rank(1);
    let all = start(low.dir.path(), &[1], &["sleep", "60"], 2, json!({}), &[1, 2]);
    low.push(&StartHere(all));
    low.started(1);
    low.push(&again.body::<Fence>().expect("a fence"));
    low.end(1, 5000);
    let mut refusal = low.receive_other();
    assert!(refusal.error.as_ref().is_some_and(|e| e.text.contains("rank 1 have ended")), "{refusal:?}");
    refusal.tag = again.tag;
    high.send(&refusal);
    // Rank 2 in its turn tells its parent that it is gone.
    let told = high.receive_other();
    assert_eq!(told.body::<FenceLost>().expect("a farewell").name, None);
    assert_eq!(high.gone(1).output("stdout", "1"), "cmd=barrier_out rc=-1\n");
    // And a parent that waits is told by its child, even before its own tasks are there.
    assert_eq!(low.gone(1).status(), 15);
    low.push(&again.body::<Fence>().expect("a fence"));
    assert!(low.receive_other().error.is_some_and(|e| e.text.contains("rank 1 have ended")), "late as well");
    let lost = FenceLost { id: JobId(2), ..told.body().expect("a farewell") };
    low.push(&lost);
    assert_eq!(low.receive_other().kind, Kind::Response);
    let all = start(low.dir.path(), &[2], &["python3", "-c", client], 2, json!({}), &[1, 2]);
    low.push(&StartHere(all));
    assert_eq!(low.gone(2).output("stdout", "0"), "cmd=barrier_out rc=-1\n");
    // Even one that ends well: its tasks might have spoken. Of others it is known that they could not.
    for (id, command) in [(3, &["true"][..]), (4, &["sh", "-c", ":"])] {
        high.push(&StartHere(start(high.dir.path(), &[id], command, 2, json!({"pmi": "simple"}), &[1, 2])));
        if id == 4 {
            let told: FenceLost = high.receive_other().body().expect("a farewell");
            assert_eq!((told.id, told.from, told.name), (JobId(4), 1, None));
        }
        assert_eq!(high.gone(id).status(), 0);
    }
}
