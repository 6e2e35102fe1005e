"""What a run starts from: a checkpoint, our own ONNX file, or a policy that others have trained.

`start.start` reads the file. Networks of ours are taken over exactly; any other policy becomes a
`teacher.Teacher` that our actor imitates (`imitation`). `config` imports no torch.
"""
