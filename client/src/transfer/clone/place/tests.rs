use super::*;

fn place(directory: &Path, form: Form) -> Place {
    Place {
        paths: DatabasePaths::new(directory),
        form,
        origin: "http://host.test/acme/prod".to_owned(),
        is_move: false,
    }
}

fn land(place: &Place) {
    let landed = place.store().join(TableFileId::new([7; 20]).to_string());
    durable::write_over(&landed, "begun", 0o600, b"a table file").unwrap();
}

#[test]
fn what_a_clone_made_is_removed_and_nothing_else() {
    for form in [Form::Database, Form::Bare] {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("clone");
        let place = place(&directory, form);
        let lock = place.lock().unwrap();
        let before = place.prepare().unwrap();
        assert_eq!(before, Before::Nothing);
        land(&place);
        place.undo(before).unwrap();
        drop(lock);
        assert!(!directory.exists(), "{form:?}");

        std::fs::create_dir(&directory).unwrap();
        let lock = place.lock().unwrap();
        let before = place.prepare().unwrap();
        assert_eq!(before, Before::Nothing);
        land(&place);
        // The user writes there meanwhile.
        durable::write_over(&directory.join("notes"), "begun", 0o600, b"notes").unwrap();
        place.undo(before).unwrap();
        drop(lock);
        let left: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["notes"], "{form:?}");
    }
}

#[test]
fn what_an_earlier_clone_left_stays() {
    let above = tempfile::tempdir().unwrap();
    let place = place(&above.path().join("clone"), Form::Database);
    let _lock = place.lock().unwrap();
    place.prepare().unwrap();
    land(&place);
    let before = place.prepare().unwrap();
    assert_eq!(before, Before::Unfinished);
    place.undo(before).unwrap();
    assert!(is_of_a_file(
        &std::fs::read_dir(place.store())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .file_name()
    ));
    assert_eq!(place.prepare().unwrap(), Before::Unfinished);
}

#[test]
fn a_directory_in_which_another_works_is_left_as_it_is() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("clone");
    let first = place(&directory, Form::Bare);
    let lock = first.lock().unwrap();
    let listed = || {
        let entries = std::fs::read_dir(&directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let mut other = place(&directory, Form::Database);
    // Before anything was made, when something was, and whatever the other is to make.
    for _ in 0..2 {
        let before = listed();
        for origin in [&first.origin, "http://host.test/acme/other"] {
            other.origin = origin.to_owned();
            let error = other.lock().unwrap_err();
            assert!(matches!(error, TransferError::Lock { .. }), "{error}");
            assert_eq!(listed(), before);
        }
        first.prepare().unwrap();
    }
    drop(lock);
    let error = other.lock().unwrap_err();
    assert!(matches!(error, TransferError::Begun { .. }), "{error}");
    drop(first.lock().unwrap());
}

#[test]
fn a_file_is_no_place_for_a_clone() {
    let above = tempfile::tempdir().unwrap();
    let file = above.path().join("file");
    durable::write_over(&file, "begun", 0o600, b"mine").unwrap();
    for form in [Form::Database, Form::Bare] {
        let error = place(&file, form).lock().unwrap_err();
        assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn the_lock_of_a_killed_clone_is_not_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join(".holdfast-lock");
    durable::write_over(&left, "begun", 0o600, b"4711").unwrap();
    let place = place(directory.path(), Form::Bare);
    place.check_free().unwrap();
    let _lock = place.lock().unwrap();
    assert_eq!(place.prepare().unwrap(), Before::Nothing);
}

/// Every file and directory that a clone has made by the end of its preparation, one more each time, as a kill
/// leaves them.
#[test]
fn a_clone_that_is_cut_off_while_it_prepares_is_begun_again() {
    for form in [Form::Database, Form::Bare] {
        let above = tempfile::tempdir().unwrap();
        let whole = place(&above.path().join("whole"), form);
        let _lock = whole.lock().unwrap();
        whole.prepare().unwrap();
        let mut made = vec![PathBuf::new()];
        let mut next = 0;
        while let Some(path) = made.get(next).cloned() {
            next += 1;
            if let Ok(entries) = std::fs::read_dir(whole.paths.directory().join(path.clone())) {
                made.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
            }
        }
        let origin = whole.origin_file();
        let origin = origin.strip_prefix(whole.paths.directory()).unwrap();
        made.retain(|path| path != origin && !path.as_os_str().is_empty());
        for count in 0..=made.len() {
            let cut = place(&above.path().join(format!("cut-{count}")), form);
            std::fs::create_dir(cut.paths.directory()).unwrap();
            for path in &made[..count] {
                let path_there = cut.paths.directory().join(path);
                match whole.paths.directory().join(path).is_dir() {
                    true => std::fs::create_dir(path_there).unwrap(),
                    false => durable::write_over(&path_there, "begun", 0o600, b"").unwrap(),
                }
            }
            let temporary = cut.paths.directory().join("holdfast-a1B2c3");
            durable::write_over(&temporary, "begun", 0o600, b"half").unwrap();
            let _lock = cut.lock().unwrap();
            assert_eq!(cut.prepare().unwrap(), Before::Nothing, "{form:?} {count}");
            assert!(!temporary.exists());
            assert_eq!(cut.prepare().unwrap(), Before::Unfinished);
        }
        for mine in ["mine", ".dolt/mine", "holdfast-notes"] {
            let occupied = place(&above.path().join("occupied"), form);
            std::fs::create_dir_all(occupied.paths.directory().join(mine)).unwrap();
            occupied.lock().unwrap_err();
            std::fs::remove_dir_all(occupied.paths.directory()).unwrap();
        }
    }
}

#[test]
fn what_was_cut_off_after_it_was_whole_is_cleared() {
    let above = tempfile::tempdir().unwrap();
    let place = place(&above.path().join("clone"), Form::Database);
    let lock = place.lock().unwrap();
    place.prepare().unwrap();
    replace_file(&place.paths.repo_state(), b"{}").unwrap();
    drop(lock);
    let _lock = place.lock().unwrap();
    let error = place.prepare().unwrap_err();
    assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
    assert!(!place.paths.unfinished().exists());
    assert!(!place.paths.holdfast().exists());
}

#[test]
fn a_move_is_known_by_its_own_mark_alone() {
    let above = tempfile::tempdir().unwrap();
    let mut moved = place(&above.path().join("moved"), Form::Database);
    moved.is_move = true;
    let _lock = moved.lock().unwrap();
    moved.prepare().unwrap();
    assert!(!moved.is_moved());
    moved.finish(&RepoState::alone("main")).unwrap();
    assert!(moved.is_moved());
    assert!(!moved.incoming().exists());
    let error = moved.check_free().unwrap_err();
    assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
    let mut other = moved.clone();
    other.origin = "http://host.test/acme/other".to_owned();
    assert!(!other.is_moved());

    let cloned = place(&above.path().join("cloned"), Form::Database);
    let lock = cloned.lock().unwrap();
    cloned.prepare().unwrap();
    cloned.finish(&RepoState::alone("main")).unwrap();
    drop(lock);
    assert!(!cloned.paths.holdfast().exists());
    let mut same = cloned.clone();
    same.is_move = true;
    let error = same.lock().unwrap_err();
    assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
}
