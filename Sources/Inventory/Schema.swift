import GRDB

/// The database's layout, as a list of steps that is only ever appended to.
enum Schema {
  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1 virtual machines, journal, events") { database in
      try database.create(table: "virtualMachine") { table in
        table.primaryKey("name", .text)
        table.column("uid", .text).notNull().unique()
        table.column("descriptionJSON", .blob)
        table.column("requestJSON", .blob).notNull()
        table.column("bridge", .text)
        table.column("macAddress", .text).unique()
        table.column("idleAfterSeconds", .double)
        table.column("createdAt", .datetime).notNull()
        table.column("processID", .integer)
        table.column("processStartTime", .integer)
        table.column("desiredState", .text).notNull()
        table.column("runtimeJSON", .blob)
      }
      try database.create(table: "journal") { table in
        table.primaryKey("virtualMachine", .text)
          .references("virtualMachine", onDelete: .cascade)
        table.column("transition", .text).notNull()
        table.column("step", .text).notNull()
        table.column("at", .datetime).notNull()
        table.column("payload", .blob)
      }
      // No reference to the machine: what became of a deleted one can still be read.
      try database.create(table: "journalHistory") { table in
        table.autoIncrementedPrimaryKey("id")
        table.column("virtualMachine", .text).notNull()
        table.column("transition", .text).notNull()
        table.column("step", .text).notNull()
        table.column("at", .datetime).notNull()
        table.column("payload", .blob)
      }
      try database.create(table: "event") { table in
        table.autoIncrementedPrimaryKey("sequence")
        table.column("at", .datetime).notNull()
        table.column("virtualMachine", .text)
        table.column("kind", .text).notNull()
        table.column("message", .text).notNull()
        table.column("details", .text).notNull()
      }
    }
    // Machines from one template have one address; each is on a bridge of its own.
    migrator.registerMigration("2 an address is unique on its bridge") { database in
      try database.create(table: "newVirtualMachine") { table in
        table.primaryKey("name", .text)
        table.column("uid", .text).notNull().unique()
        table.column("descriptionJSON", .blob)
        table.column("requestJSON", .blob).notNull()
        table.column("bridge", .text)
        table.column("macAddress", .text)
        table.column("idleAfterSeconds", .double)
        table.column("createdAt", .datetime).notNull()
        table.column("processID", .integer)
        table.column("processStartTime", .integer)
        table.column("desiredState", .text).notNull()
        table.column("runtimeJSON", .blob)
      }
      try database.execute(
        sql: """
          INSERT INTO newVirtualMachine
          SELECT name, uid, descriptionJSON, requestJSON, bridge, macAddress, idleAfterSeconds,
            createdAt, processID, processStartTime, desiredState, runtimeJSON FROM virtualMachine;
          DROP TABLE virtualMachine;
          ALTER TABLE newVirtualMachine RENAME TO virtualMachine;
          CREATE UNIQUE INDEX virtualMachineAddress
          ON virtualMachine (coalesce(bridge, ''), macAddress);
          """)
    }
    migrator.registerMigration("3 rules") { database in
      try database.alter(table: "virtualMachine") { table in
        table.add(column: "rulesJSON", .blob)
      }
      try database.create(table: "setting") { table in
        table.primaryKey("name", .text)
        table.column("value", .blob).notNull()
      }
    }
    migrator.registerMigration("4 swap-in") { database in
      try database.alter(table: "virtualMachine") { table in
        table.add(column: "swapIn", .text).notNull().defaults(to: "lazy")
      }
    }
    return migrator
  }
}
