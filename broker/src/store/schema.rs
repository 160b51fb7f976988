//! The tables as the query builder sees them: the same types for every backend.

diesel::table! {
    meta (singleton) {
        singleton -> Integer,
        store_id -> Text,
        epoch -> BigInt,
        key_check -> Nullable<Text>,
        created_at -> BigInt,
    }
}

diesel::table! {
    mesh (id) {
        id -> Text,
        slug -> Text,
        name -> Text,
        owner_pubkey -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    member (id) {
        id -> Text,
        mesh_id -> Text,
        pubkey -> Text,
        display_name -> Text,
        role -> Text,
        certificate -> Nullable<Text>,
        created_at -> BigInt,
        removed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    service (mesh_id, name) {
        mesh_id -> Text,
        name -> Text,
        desired -> Text,
        active_deployment -> Nullable<Text>,
        pending_deployment -> Nullable<Text>,
        scope -> Text,
        deployed_by -> Text,
        runner -> Nullable<Text>,
        description -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    deployment (id) {
        id -> Text,
        mesh_id -> Text,
        service -> Text,
        source -> Text,
        args -> Text,
        config -> Text,
        env_sealed -> Nullable<Text>,
        version -> Nullable<Text>,
        tools -> Nullable<Text>,
        ever_ready -> Bool,
        ended -> Nullable<Text>,
        created_by -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    service_event (seq) {
        seq -> BigInt,
        id -> Text,
        mesh_id -> Text,
        service -> Text,
        deployment -> Nullable<Text>,
        from_state -> Nullable<Text>,
        to_state -> Text,
        cause -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    replay (key) {
        key -> Text,
        expires_at -> BigInt,
    }
}

diesel::table! {
    // Kept by the migration harness; read here before the harness may touch anything.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}
