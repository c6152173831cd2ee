/**
 * A client that says what a real one said: `fake-client.ts claude|codex PLAN LOG ARGUMENTS…`. PLAN is a file whose first line, which is
 * taken off, names the recorded talk of this start; `NAME:N` ends the process without a word after N lines of it, `NAME:N:still` stays
 * silent from there. LOG gets a line for the start and for each message.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { recorded } from './talks.ts'

const [, , client = '', plan = '', log = '', ...args] = process.argv
const [first = '', ...later] = readFileSync(plan, 'utf8').split('\n')
writeFileSync(plan, later.join('\n'))
const [name = '', most = '', then = ''] = first.split(':')
const lines = recorded(name)
const { S2_TASK_ID: task, S2_TASK_DESCRIPTION: text } = process.env
const note = (what: object): void => appendFileSync(log, `${JSON.stringify(what)}\n`)
note({ start: args, task, text, pid: process.pid })

let said = 0
function say(until: (line: string) => boolean): void {
  for (let line = lines[said]; line !== undefined; line = lines[said]) {
    if (most !== '' && said >= Number(most)) {
      if (then !== 'still') process.kill(process.pid, 'SIGKILL')
      return
    }
    if (until(line)) return
    process.stdout.write(`${line}\n`)
    said += 1
  }
}

/** Claude Code answers a request for control with what follows it. */
function answerClaude(message: { type?: string }): void {
  if (message.type === 'control_request' && lines.some((line) => line.includes('"control_response"'))) say(() => false)
  else if (message.type === 'user') say((line) => line.includes('"control_response"'))
}

/** Codex answers each request, and tells news until the next one. */
function answerCodex(message: { id?: number }): void {
  if (message.id === undefined) return
  const isAnswer = (line: string): boolean => /^\{"id": \d/.test(line)
  if (isAnswer(lines[said] ?? '')) process.stdout.write(`${lines[said]}\n`)
  said += 1
  say(isAnswer)
}

const input = createInterface({ input: process.stdin })
input.on('line', (line) => {
  const message = JSON.parse(line) as { type?: string; id?: number }
  note({ heard: message })
  if (client === 'claude') answerClaude(message)
  else answerCodex(message)
})
input.on('close', () => process.exit(lines.at(-1)?.includes('"is_error": true') === true ? 1 : 0))
