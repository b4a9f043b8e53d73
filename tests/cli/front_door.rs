//! `pgv NAME`: verbs, other programs, and neither.

use crate::host::Host;

#[test]
fn a_name_that_is_no_verb_runs_the_program_of_that_name() {
    let host = Host::new("door");
    host.folder.write("bin-hello", "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n");
    host.folder.make("bin");
    host.sh("cp bin-hello bin/pgv-hello && chmod 755 bin/pgv-hello").success();
    let outcome = host.sh("PATH=@/bin:$PATH; pgv hello 'a b' --flag -x").expect_code(7);
    assert_eq!(outcome.stdout, "<a b><--flag><-x>");
    host.sh("chmod 644 bin/pgv-hello; PATH=@/bin:$PATH; pgv hello").expect_code(2);
}

#[test]
fn programs_beside_pgv_go_before_path() {
    let host = Host::new("door");
    host.folder.make("beside");
    host.folder.make("path");
    let programs = crate::support::program("pgv");
    host.sh(&format!("cp {} beside/pgv", programs.display())).success();
    for folder in ["beside", "path"] {
        let script =
            format!("printf '#!/bin/sh\\necho {folder}\\n' > {folder}/pgv-hello && chmod 755 {folder}/pgv-hello");
        host.sh(&script).success();
    }
    assert_eq!(host.sh("PATH=@/path:$PATH; beside/pgv hello").success().stdout, "beside\n");
}

#[test]
fn an_unknown_name_is_an_error_that_names_the_nearest() {
    let host = Host::new("door");
    let outcome = host.sh("pgv resore -D x").expect_code(2);
    assert_eq!(
        outcome.stderr,
        "pgv: error: unknown verb \"resore\"\n\
         pgv: hint: Did you mean \"restore\"?\n\
         pgv: hint: There is no program \"pgv-resore\" either.\n"
    );
    host.sh("pgv ../pgv-archive").expect_code(2).expect_stderr("unknown verb \"../pgv-archive\"");
    host.sh("pgv ''").expect_code(2).expect_stderr("unknown verb \"\"");
    host.sh("pgv --repo /x info").expect_code(2).expect_stderr("Options come after the verb");
}
