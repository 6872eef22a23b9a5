#!/bin/bash
# Joins the cluster. Arguments: the control plane's address, the token.
set -euo pipefail
readonly control_plane=$1 token=$2

# The control plane's certificate is not known here; the private network between these machines is trusted.
[[ -f /etc/kubernetes/kubelet.conf ]] || kubeadm join "$control_plane:6443" --token "$token" --discovery-token-unsafe-skip-ca-verification
