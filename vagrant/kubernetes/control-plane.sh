#!/bin/bash
# Starts the cluster without kube-proxy, and kproxy in it. Arguments: the token to join with, the backend, and all machines
# as NAME=ADDRESS, this one first.
set -euo pipefail
readonly token=$1 backend=$2 address=${3#*=}
shift 2
export KUBECONFIG=/etc/kubernetes/admin.conf

[[ -f $KUBECONFIG ]] || kubeadm init --skip-phases addon/kube-proxy --apiserver-advertise-address "$address" \
  --token "$token" --token-ttl 24h
mkdir -p /home/vagrant/.kube
install -o vagrant -g vagrant -m 600 "$KUBECONFIG" /home/vagrant/.kube/config

# Which pods are whose is settled by the machines' addresses, so the Nodes say so before they join.
for machine in "$@"; do
  pods=10.244.${machine##*.}.0/24
  if kubectl get node "${machine%%=*}" >/dev/null 2>&1; then
    kubectl patch node "${machine%%=*}" --patch "{\"spec\": {\"podCIDR\": \"$pods\", \"podCIDRs\": [\"$pods\"]}}"
  else
    kubectl create -f - <<NODE
{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "${machine%%=*}"}, "spec": {"podCIDR": "$pods", "podCIDRs": ["$pods"]}}
NODE
  fi
done

sed -i "s|server: https://.*|server: https://$address:6443|" /tmp/deploy/base/configmap.yaml
kubectl apply -k "/tmp/deploy/overlays/$backend"
# The image was copied into every machine; nobody is to look for it elsewhere.
kubectl -n kube-system patch daemonset kproxy --type json -p '[
  {"op": "add", "path": "/spec/template/spec/initContainers/0/imagePullPolicy", "value": "Never"},
  {"op": "add", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"}]'
# The workers' follow when they have joined.
kubectl -n kube-system wait pods --for condition=Ready --selector k8s-app=kproxy --field-selector "spec.nodeName=$(hostname)" --timeout 300s
