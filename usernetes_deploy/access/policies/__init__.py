"""Policies: what a site or a spec does not allow, checked by the driver and by the API server itself.

`library` has the ten that are ready, `document` reads them, `site` the site's file, `rules` makes them
ValidatingAdmissionPolicies, `driver` asks them before anything is changed, `trial` tries them on a running cluster.
"""
