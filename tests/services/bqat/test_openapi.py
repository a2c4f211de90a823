"""The service's description of itself holds together."""

import json
import re

from tests.services.bqat.support import Bqat, stranger


async def test_every_reference_of_the_description_leads_somewhere(bqat: Bqat) -> None:
    """And every operation has a name of its own."""
    document = (await bqat.client.get("/openapi.json", headers=stranger())).json()
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    for reference in references:
        found = document
        for part in reference.split("/"):
            assert part in found, reference
            found = found[part]
    names = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(names) == len(set(names))
    assert "/api/v2/bqat/scans" in document["paths"]
