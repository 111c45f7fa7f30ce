"""The Hessian spectrum of a small network on real data, in twenty lines."""

import torch
from sklearn.datasets import load_digits

import hesscope as hs

images, labels = load_digits(return_X_y=True)
inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
loss = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    loss(model(inputs), targets).backward()
    optimizer.step()

objective = hs.Objective(model, loss, (inputs, targets))  # what is differentiated
H = hs.hessian(objective)  # its Hessian, known by products: H @ v
rho = hs.spectral_density(H, num_probes=8, num_steps=60)

print("largest eigenvalue ", rho.largest_eigenvalue())  # every estimate has .value, .error and .interval
print("smallest eigenvalue", rho.smallest_eigenvalue())
print("trace              ", rho.trace())
print("negative curvature ", rho.negative_curvature())
rho.save("digits.safetensors")  # hs.load reads it
rho.plot().figure.savefig("digits.png")
