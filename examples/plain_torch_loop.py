"""MARNet on your own classifier, in your own training loop: no Lightning, no configuration file.

Run: uv run python examples/plain_torch_loop.py
"""

import torch
import torchvision

import marnet

torch.manual_seed(0)
# Thirty-two pictures of two things, each with a text: red squares and green ones.
colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2]])
labels = torch.arange(32) % 2
images = colours[labels][:, :, None, None] + 0.1 * torch.randn(32, 3, 32, 32)
texts = [("ripe red tomato", "green lettuce leaf")[label] for label in labels]

classifier = torchvision.models.resnet18(num_classes=1000)
classifier.fc = torch.nn.Identity()  # your classifier without its last layer gives features (B, D)

# Two lines make it a MARNet: this one, and the first one of the loop.
model = marnet.wrap(classifier, texts=texts, labels=labels, num_classes=2, image_size=32)

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(40):
    loss = model.loss(images, texts, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 9:
        print(f"step {step + 1:2d}  loss {loss.item():.3f}")

model.eval()
with torch.no_grad():
    predicted = model(images).argmax(-1)  # images alone
print("predicted", predicted.tolist(), "true     ", labels.tolist())
