import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { controlAgent } from '../control-agent.ts'

const EXAMPLES = `
Examples:
  s2 thaw s2-worker-3         resumes its frozen processes, or starts its killed ones again

Only for agents that an \`s2 up\` on this machine started.`

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<agent>', 'its name, or its role where no other agent has it')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (agent: string, options: { json?: true }) => {
      await controlAgent('thaw', agent, becameOf, options.json === true, context)
    })
}

function becameOf(processes: number): string {
  return processes === 0
    ? 'was not frozen: if it was killed it starts again, else it goes on as before'
    : `goes on (${processes} processes)`
}
