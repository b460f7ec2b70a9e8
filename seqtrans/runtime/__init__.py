"""The machine: devices, memory, processors, signals and files; knows no learning."""
