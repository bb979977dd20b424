//! Finds the key that somebody probably meant. Topic-level names find their broker-level twin, words in another order
//! find the right order, and everything else goes by edit distance.

/// A longer key is not a typing slip, and comparing it would only cost time.
const KEY_CHARS_MAX: usize = 100;

/// The known key that is closest to `key`, when one is close enough to be worth naming. The order of `known` breaks ties.
pub fn closest<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let key = key.to_ascii_lowercase().replace('_', ".");
    if key.chars().count() > KEY_CHARS_MAX {
        return None;
    }
    let twin = format!("log.{key}");
    let words = sorted_words(&key);
    let same = |candidate: &str| candidate == key || candidate == twin || sorted_words(candidate) == words;
    if let Some(found) = known.clone().find(|candidate| same(candidate)) {
        return Some(found);
    }
    let limit = (key.chars().count() / 4).clamp(1, 4);
    let scored = known.map(|candidate| (edit_distance(&key, candidate), candidate));
    scored
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, found)| found)
}

fn sorted_words(key: &str) -> Vec<&str> {
    let mut words: Vec<&str> = key.split('.').collect();
    words.sort_unstable();
    words
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
pub fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = above;
        above = row;
    }
    above[b.len()]
}
