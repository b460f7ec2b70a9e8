"""Recurrent networks: one step, a layer over a sentence, layers on top of each other.

- ``cells``: Cell, LSTM, GRU, LayerNormLSTM, LayerNormGRU, gru_state
- ``layers``: RecurrentLayer, Recurrence, SentenceLayer, mean_states
- ``stack``: RecurrentStack
"""
