"""Read a picture back."""

import xml.etree.ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """Give every text of an SVG; Graphviz writes spaces that do not break."""
    found = [e.text or "" for e in ET.fromstring(svg).iter(f"{SVG}text")]
    return [text.replace("\xa0", " ").strip() for text in found]
