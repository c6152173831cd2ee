import { createConnection } from 'node:net'
import type { Message } from '#fleet/message.ts'
import { readAnswer, type Sender, signedSend, someText } from './load/signed.ts'

/** Sends messages of so many characters over one connection, at most one at a time. */
export function openSender(sender: Sender, length: number): Disposable & { send(): Promise<Message> } {
  const socket = createConnection({ host: '127.0.0.1', port: sender.port, noDelay: true })
  let answered = Promise.withResolvers<Message>()
  let heard: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    heard = Buffer.concat([heard, chunk])
    const answer = readAnswer(heard)
    if (answer === null) return
    const text = heard.toString('utf8', 0, answer.end)
    if (answer.status === 200) answered.resolve(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as Message)
    else answered.reject(new Error(text))
    heard = heard.subarray(answer.end)
  })
  socket.on('error', (error) => answered.reject(error))
  return {
    send() {
      answered = Promise.withResolvers()
      socket.write(signedSend(sender, someText(length)))
      return answered.promise
    },
    [Symbol.dispose]: () => void socket.destroy(),
  }
}
