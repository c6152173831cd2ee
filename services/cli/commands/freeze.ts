import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { controlAgent } from '../control-agent.ts'

const EXAMPLES = `
Examples:
  s2 freeze s2-worker-3       pauses all its processes, its command's too; \`s2 thaw\` resumes them
  s2 freeze backend           the only agent of that role

Only for agents that an \`s2 up\` on this machine started.`

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<agent>', 'its name, or its role where no other agent has it')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (agent: string, options: { json?: true }) => {
      await controlAgent('freeze', agent, (count) => `is frozen (${count} processes)`, options.json === true, context)
    })
}
