import type { Env } from './config.ts'

/** Tells systemd how the program does, sd_notify(3): datagrams on the socket that NOTIFY_SOCKET names. */
export interface Notify {
  /** One or more `NAME=value` lines. Does nothing where no service manager listens; never throws. */
  say(...lines: readonly string[]): void
  close(): void
}

const silent: Notify = { say: () => undefined, close: () => undefined }

/** Node has no datagram unix sockets of its own, so a small native module is loaded where they are wanted. */
export async function openNotify(env: Env): Promise<Notify> {
  const path = env.NOTIFY_SOCKET
  if (path === undefined || path === '') return silent
  const { default: dgram } = await import('unix-dgram')
  const address = path.startsWith('@') ? `\0${path.slice(1)}` : path
  const socket = dgram.createSocket('unix_dgram')
  socket.on('error', () => undefined)
  return {
    say: (...lines) => {
      const packet = Buffer.from(lines.join('\n'))
      socket.sendto(packet, 0, packet.length, address)
    },
    close: () => socket.close(),
  }
}
