/** A test dependency's types name this one of the browser; its meaning there (Web IDL §3). */
type BufferSource = ArrayBufferView | ArrayBuffer
