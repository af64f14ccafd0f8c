use super::super::settings::Fallback;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What a scripted name server answers.
type Script = Arc<Mutex<(usize, io::Result<Vec<u8>>)>>;

fn settings(addresses: &[&str]) -> Settings {
    Settings {
        name: "central".parse().unwrap(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        tls_ca: None,
        tls_identity: None,
        token_file: None,
        registries: Vec::new(),
        profiles: Vec::new(),
        fallback: Fallback::None,
        forward_callers: false,
    }
}

/// Returns a pool of one name, which the script resolves to addresses with these last bytes.
fn pool(first: &[u8]) -> (Arc<Pool>, Script) {
    let script: Script = Arc::new(Mutex::new((0, Ok(first.to_vec()))));
    let answers = Arc::clone(&script);
    let resolver = move |_| -> Resolution {
        let mut answers = lock(&answers);
        answers.0 += 1;
        let answer = match &answers.1 {
            Ok(bytes) => Ok(bytes.iter().map(|last| Target::Tcp(([192, 0, 2, *last], 1).into())).collect()),
            Err(error) => Err(error.kind().into()),
        };
        Box::pin(async move { answer })
    };
    (Arc::new(Pool::resolved_by(&settings(&["http://broker.example:1"]), Box::new(resolver))), script)
}

async fn last_bytes(pool: &Arc<Pool>) -> Vec<u8> {
    let mut bytes: Vec<_> = pool.nodes().await.iter().map(|node| last_byte(node)).collect();
    bytes.sort_unstable();
    bytes
}

fn last_byte(node: &Node) -> u8 {
    let Target::Tcp(std::net::SocketAddr::V4(address)) = node.target else { panic!("{node:?}") };
    address.ip().octets()[3]
}

/// Lets a resolution in the background end.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn name_is_resolved_again_every_30_s_and_nodes_that_stay_are_kept() {
    let (pool, script) = pool(&[1, 2]);
    let first = pool.nodes().await;
    lock(&script).1 = Ok(vec![2, 3]);
    tokio::time::advance(29 * SECOND).await;
    assert_eq!((last_bytes(&pool).await, lock(&script).0), (vec![1, 2], 1));
    tokio::time::advance(SECOND).await;
    assert_eq!(last_bytes(&pool).await, [1, 2], "a call does not wait for the name server");
    settle().await;
    assert_eq!((last_bytes(&pool).await, lock(&script).0), (vec![2, 3], 2));
    let kept = pool.nodes().await.into_iter().find(|node| last_byte(node) == 2).unwrap();
    assert!(first.iter().any(|node| Arc::ptr_eq(node, &kept)), "it keeps its connection");
}

#[tokio::test(start_paused = true)]
async fn name_server_that_fails_takes_no_node_away() {
    let (pool, script) = pool(&[1]);
    assert_eq!(last_bytes(&pool).await, [1]);
    lock(&script).1 = Err(io::ErrorKind::TimedOut.into());
    assert!(pool.others_than(&pool.nodes().await).await.is_empty());
    assert_eq!((last_bytes(&pool).await, lock(&script).0), (vec![1], 2));
}

#[tokio::test(start_paused = true)]
async fn failed_call_finds_the_new_address_of_a_name_at_once() {
    let (pool, script) = pool(&[1]);
    let tried = pool.nodes().await;
    lock(&script).1 = Ok(vec![1, 7]);
    let others = pool.others_than(&tried).await;
    assert_eq!(others.iter().map(|node| last_byte(node)).collect::<Vec<_>>(), [7]);
}

#[tokio::test(start_paused = true)]
async fn calls_are_spread_over_the_nodes_and_a_failed_one_comes_last() {
    let (pool, _) = pool(&[1, 2, 3]);
    let mut firsts = Vec::new();
    for _ in 0..3 {
        firsts.push(last_byte(&pool.nodes().await[0]));
    }
    firsts.sort_unstable();
    assert_eq!(firsts, [1, 2, 3]);
    let failed = pool.nodes().await.remove(0);
    failed.failed("refused");
    for _ in 0..4 {
        assert!(Arc::ptr_eq(pool.nodes().await.last().unwrap(), &failed));
    }
    assert_eq!(pool.counts(), (3, 1));
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(pool.counts(), (3, 0), "it is tried again after a while");
    failed.failed("refused");
    tokio::time::advance(SECOND).await;
    assert_eq!(pool.counts(), (3, 1), "longer after each failure");
    failed.answered();
    assert_eq!(pool.counts(), (3, 0));
}
