from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError


def test_it():
    assert str(StackError(Fault("a.b", "x {n}.", "do {n}."), n=1)) == "x 1. do 1. [a.b]"
