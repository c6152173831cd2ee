import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { defineCreate } from './certificate.ts'

const EXAMPLES = `
Examples:
  sudo s2 keys tls --name bridge.example.org
        an authority of your own and a certificate for the bridge; workers get the authority, and the key of the bridge, with
        their credentials

The same as s2 certificate create. The keys of hosts are made by s2 worker join.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineCreate(command.command('tls'), context)
}
