import { type Command, Option } from 'commander'
import { CLIENTS } from '#agents/client-session.ts'
import type { CommandContext } from '#console/context.ts'
import { runHook } from '../hook.ts'

const NOTES = `
A client runs it, as \`s2 hooks install\` writes it into the client's settings, with JSON on its standard input. It tells keepalive of the
event, and the model what waits for its agent on this host. Whatever goes wrong it answers nothing, with exit code 0.`

/** Describes the command for a person. What a client calls is answered before this is loaded. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<event>', 'the event as the client calls it, for example Stop')
    .addOption(new Option('--agent <client>', 'the client that runs it').choices(CLIENTS).makeOptionMandatory())
    .option('--state <folder>', 'the state folder of S2, where it is not that of S2_STATE')
    .addHelpText('after', NOTES)
    .action(async (event: string, { agent, state }: { agent: string; state?: string }) => {
      await runHook([event, '--agent', agent, ...(state === undefined ? [] : ['--state', state])], context)
    })
}
