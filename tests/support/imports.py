"""Check that every import of the code is there, also the late ones inside functions."""

# Arguments: modules. Fails with a sentence about what one of ours, loaded by them, cannot import.
PROBE = """
import ast, importlib, importlib.util, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
ours = [module for name, module in sys.modules.items() if name.startswith("image_poster")]
for module in ours:
    with open(module.__file__) as source:
        nodes = list(ast.walk(ast.parse(source.read())))
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [each.name for node in nodes if isinstance(node, ast.Import) for each in node.names]
    for top in {name.partition(".")[0] for name in names}:
        if importlib.util.find_spec(top) is None:
            sys.exit(f"{module.__name__} imports {top}, which is not here")
print(len(ours))
"""
