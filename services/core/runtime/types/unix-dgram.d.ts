/** The package ships no types. Events and callbacks are synchronous: they come before the call returns. */
declare module 'unix-dgram' {
  import type { EventEmitter } from 'node:events'

  export interface SendError extends Error {
    /** A negative errno, or 1 when the receiver's buffer is full. */
    readonly code: number
  }

  interface SocketEvents {
    message: [data: Buffer]
    listening: []
    connect: []
    congestion: [data: Buffer]
    writable: []
    error: [error: SendError]
  }

  /** An open socket keeps the process alive until close(). */
  export interface Socket extends EventEmitter<SocketEvents> {
    bind(path: string): void
    /** Fails with an 'error' event, not an exception. */
    connect(path: string): void
    /** Only after connect(). Without a callback a failure is an 'error' event. */
    send(data: Buffer, callback?: (error?: SendError) => void): void
    /** A path that starts with a NUL byte names an abstract socket. */
    sendto(data: Buffer, offset: number, length: number, path: string, callback?: (error?: SendError) => void): void
    close(): void
  }

  /** CommonJS whose names Node cannot be trusted to see: import the default. */
  const native: {
    createSocket(type: 'unix_dgram', listener?: (data: Buffer) => void): Socket
  }
  export default native
}
