import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import { runCommand } from '#runtime/command.ts'
import type { Log } from '#runtime/log.ts'
import type { Config } from './config.ts'
import type { Call, Wake } from './rouser.ts'

/** Characters of each message that the command is shown; the whole is in the inbox. */
const PREVIEW = 200
const OUTPUT_MAX = 4_000

/** Wakes by running a command with the call as JSON on its standard input. Exit code 0 says that it worked. */
export function execWake({ argv, env, timeoutMs }: Config['wake'], clock: Clock, log: Pick<Log, 'debug'>): Wake {
  return async (call, signal) => {
    const input = `${JSON.stringify(told(call))}\n`
    const ending = await runCommand(
      { argv, env, input, timeoutMs, outputMax: OUTPUT_MAX, beyond: 'keep_tail' },
      clock,
      signal,
    )
    log.debug('the wake command said', { output: String(ending.stdout) })
    if (ending.code === 0 && ending.ended === null) return
    const how = ending.ended ?? ending.signal ?? `exit code ${ending.code}`
    throw new Error(`the wake command did not work: ${how}`, { cause: redact(ending.stderr.slice(-1000)) })
  }
}

function told({ session, messages }: Call): object {
  return {
    session,
    count: messages.length,
    messages: messages.map(({ id, from, action, text, sentAt }) => ({
      id,
      from,
      action,
      sentAt,
      preview: text.slice(0, PREVIEW),
    })),
  }
}
