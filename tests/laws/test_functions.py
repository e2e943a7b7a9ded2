"""The laws of functions of no other interface, such as measurements that return numbers."""

from tests.laws import calling
from tests.laws import test_diagnostics as of_diagnostics
from tests.laws.cases import Laws

laws = Laws("function", minimum=6)

laws(calling.misspelt_keywords_are_refused)
laws(calling.knobs_are_live)
laws(calling.inputs_are_untouched)
laws(calling.global_generators_are_untouched)

measures = laws.where(
    lambda example: of_diagnostics.has_data(example) and of_diagnostics.models(example.inputs())
)
measures(of_diagnostics.the_size_of_batches_does_not_matter)
measures(of_diagnostics.models_and_data_are_untouched)
measures(of_diagnostics.a_failure_leaves_the_model_untouched)
measures(of_diagnostics.randomness_in_the_model_is_refused_or_without_effect)
measures(of_diagnostics.the_mode_of_the_model_does_not_matter)
measures(of_diagnostics.data_that_can_be_read_once_is_refused_or_enough)
measures(of_diagnostics.bad_data_is_refused)
measures(of_diagnostics.single_precision_follows_double)

test_law = laws.tests()
