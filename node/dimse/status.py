"""The statuses that are answered on the network, or looked for in an answer."""

SUCCESS = 0x0000

# PS3.7 annex C: of any service
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT_VALUE = 0x0115
NOT_AUTHORISED = 0x0124

# PS3.4 B.2.3: of C-STORE
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
