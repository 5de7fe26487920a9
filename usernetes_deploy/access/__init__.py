"""Who may do what in a cluster: grants, each a ServiceAccount with rights that end.

The administrator's kubeconfig is for the user in person. Everybody and everything else (an agent, a service, another
person) gets a grant.
"""
