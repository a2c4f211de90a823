"""From a decoded photograph to an analysis: gate, quality, retinopathy and lesions."""
