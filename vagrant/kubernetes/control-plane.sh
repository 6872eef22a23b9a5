#!/bin/bash
# Starts the cluster without kube-proxy, gives it a pod network and kproxy. Arguments: this machine's address, the token to
# join with, the backend.
set -euo pipefail
readonly address=$1 token=$2 backend=$3
export KUBECONFIG=/etc/kubernetes/admin.conf

[[ -f $KUBECONFIG ]] || kubeadm init --skip-phases addon/kube-proxy --apiserver-advertise-address "$address" \
  --pod-network-cidr 10.244.0.0/16 --token "$token" --token-ttl 24h
mkdir -p /home/vagrant/.kube
install -o vagrant -g vagrant -m 600 "$KUBECONFIG" /home/vagrant/.kube/config

sed -i "s|server: https://.*|server: https://$address:6443|" /tmp/deploy/base/configmap.yaml
kubectl apply -k "/tmp/deploy/overlays/$backend"
# The image was copied into every machine; nobody is to look for it elsewhere.
kubectl -n kube-system patch daemonset kproxy --type json -p '[
  {"op": "add", "path": "/spec/template/spec/initContainers/0/imagePullPolicy", "value": "Never"},
  {"op": "add", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"}]'
kubectl -n kube-system rollout status daemonset kproxy --timeout 300s
