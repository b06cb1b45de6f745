//! The Helm chart: the rendered objects, the refused values, and whether its texts are up to date.
//!
//! Helm renders the chart as it does for users. If Helm is missing, these tests are listed as
//! ignored; `make test` builds Helm.

mod distributions;
mod documents;
mod helm;
mod metadata;
mod monitoring;
mod readme;
mod rendering;
mod schema;
mod snapshots;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

const TESTS: [(&str, fn()); 51] = [
    ("lint_finds_nothing", helm::lint_finds_nothing),
    ("defaults_render_every_object", rendering::defaults_render_every_object),
    ("sidecars_have_no_rights", rendering::sidecars_have_no_rights),
    ("the_driver_gets_what_the_values_say", rendering::the_driver_gets_what_the_values_say),
    ("templates_reach_the_driver", rendering::templates_reach_the_driver),
    ("another_list_of_templates_restarts_the_driver", rendering::another_list_restarts_the_driver),
    ("options_add_mounts_and_arguments", rendering::options_add_mounts_and_arguments),
    ("init_steps_can_be_left_out", rendering::init_steps_can_be_left_out),
    ("two_releases_share_nothing", rendering::two_releases_share_nothing),
    ("every_mount_has_its_volume", rendering::every_mount_has_its_volume),
    ("storage_classes_are_as_asked_for", rendering::storage_classes_are_as_asked_for),
    ("there_may_be_any_number_of_classes", rendering::there_may_be_any_number_of_classes),
    (
        "each_group_of_nodes_has_values_of_its_own",
        rendering::each_group_of_nodes_has_values_of_its_own,
    ),
    ("a_group_may_set_all_of_a_value", schema::a_group_may_set_all_of_a_value),
    ("inline_volumes_are_switched_on", rendering::inline_volumes_are_switched_on_and_capped),
    ("kubelet_mounts_images_for_the_driver", rendering::kubelet_mounts_images_for_the_driver),
    ("the_network_reaches_probes_only", rendering::the_network_reaches_probes_only),
    ("long_names_are_cut", rendering::long_names_are_cut),
    ("the_resizer_may_use_its_lease_only", rendering::the_resizer_may_use_its_lease_only),
    ("the_driver_does_without_two_sidecars", rendering::the_driver_does_without_two_sidecars),
    ("a_token_is_held_to_its_node", rendering::a_token_is_held_to_its_node),
    ("the_test_pod_is_not_the_daemon_sets", rendering::the_test_pod_is_not_the_daemon_sets),
    ("notes_warn_of_missing_templates", rendering::notes_warn_of_missing_templates),
    ("notes_warn_of_the_root_disk", rendering::notes_warn_of_the_root_disk),
    ("wrong_values_are_refused", schema::wrong_values_are_refused),
    ("right_values_are_taken", schema::right_values_are_taken),
    ("every_value_has_a_type", schema::every_value_has_a_type),
    ("every_parameter_is_known", schema::every_parameter_is_known),
    ("readme_lists_every_value", readme::lists_every_value),
    ("readme_names_the_version", readme::names_the_version),
    ("metadata_tells_the_changelogs_changes", metadata::changes_are_the_changelogs),
    ("metadata_lists_the_images_of_the_values", metadata::images_are_those_of_the_values),
    ("metadata_agrees_with_the_package", metadata::the_package_says_the_same),
    ("metadata_shows_the_icon", metadata::the_icon_is_the_file),
    ("monitoring_is_optional", monitoring::is_optional),
    ("alerts_are_the_documented_ones", monitoring::alerts_are_the_documented_ones),
    ("a_driver_that_is_down_is_noticed_by_any_name", monitoring::down_is_noticed_by_any_name),
    ("queries_name_metrics_that_exist", monitoring::queries_name_metrics_that_exist),
    ("each_distribution_gets_what_differs", distributions::each_gets_what_differs),
    ("distributions_repeat_no_default", distributions::no_default_is_repeated),
    ("distributions_give_their_sources", distributions::each_value_has_its_source),
    ("distributions_are_listed_and_packaged", distributions::each_is_listed_and_packaged),
    ("blocks_for_newcomers_render", distributions::blocks_for_newcomers_render),
    ("notes_name_the_distributions_file", distributions::notes_name_the_file),
    ("snapshots_are_off_by_default", snapshots::are_off_by_default),
    ("snapshots_are_taken_on_each_node", snapshots::are_taken_on_each_node_by_its_own_sidecar),
    ("snapshots_need_few_rights", snapshots::need_few_rights),
    ("snapshots_are_held_to_the_node", snapshots::are_held_to_the_node),
    ("snapshots_have_their_classes", snapshots::have_the_classes_that_are_asked_for),
    (
        "snapshots_are_documented_with_names_that_exist",
        snapshots::are_documented_with_names_that_the_chart_makes,
    ),
    ("manifests_use_what_the_chart_makes", documents::manifests_use_what_the_chart_makes),
];

fn main() -> ExitCode {
    let missing = !helm::program().exists();
    if missing {
        eprintln!("the chart is not tested: there is no Helm; `make test` builds it");
    }
    let trials = TESTS.map(|(name, body)| {
        let run = move || {
            body();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
